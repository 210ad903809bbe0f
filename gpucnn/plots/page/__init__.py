"""A report on runs and networks: one HTML file that needs nothing else.

``making.py`` has the functions that make a report, ``subject.py`` what it is given of a run.
``sections.py``, ``settings.py`` and ``network.py`` have its contents, ``document.py`` the parts of
a page, and ``render.py``, ``page.html`` and ``style.css`` its form.
"""
