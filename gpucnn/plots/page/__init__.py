"""A report on runs and networks: one HTML file that needs nothing else.

``making.py`` has the functions that make it, ``subject.py`` what it knows of a run; what it shows
is in ``sections.py``, ``settings.py`` and ``network.py``; ``document.py`` has the parts of a page,
and ``render.py``, ``page.html`` and ``style.css`` its form.
"""
