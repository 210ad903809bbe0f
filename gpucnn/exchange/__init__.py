"""Networks in the files of other programs: ONNX, safetensors, and ``.npz`` files of a state_dict.

>>> import gpucnn
>>> model = gpucnn.load_model("lenet5")
>>> gpucnn.exchange.export_onnx(model, "digits.onnx")
>>> gpucnn.exchange.export_safetensors(model, "digits.safetensors")
>>> gpucnn.exchange.export_npz(model, "digits.npz")

``gpucnn.load_weights`` reads the weights of the last two. Where ``onnx`` or
``safetensors`` is needed and missing, SettingError names what to install.
"""

from gpucnn.exchange.onnx_model import export_onnx, result_name
from gpucnn.exchange.safetensors_file import export_safetensors
from gpucnn.exchange.weights import export_npz

__all__ = ["export_npz", "export_onnx", "export_safetensors", "result_name"]
