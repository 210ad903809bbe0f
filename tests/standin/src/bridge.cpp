// The only part that calls Python.
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "bridge.h"

// Clears the exception and prints it, but an interrupt by the user is raised again in Python.
static void handle_exception()
{
    if (PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
        PyErr_Clear();
        PyErr_SetInterrupt();
    } else {
        PyErr_Print();
    }
}

Reply call_bridge(const char *function, const std::string &first, const std::string &second)
{
    PyGILState_STATE gil = PyGILState_Ensure();
    Reply reply = {false, "standin_bridge.py failed"};
    PyObject *module = PyImport_ImportModule("standin_bridge");
    PyObject *found = nullptr;
    if (module)
        found = PyObject_CallMethod(module, function, "ss", first.c_str(), second.c_str());
    int succeeded = 0;
    const char *text = nullptr;
    Py_ssize_t length = 0;
    if (found && PyArg_ParseTuple(found, "ps#", &succeeded, &text, &length))
        reply = {succeeded != 0, std::string(text, (size_t)length)};
    if (PyErr_Occurred()) handle_exception();
    Py_XDECREF(found);
    Py_XDECREF(module);
    PyGILState_Release(gil);
    return reply;
}
