"""The page of ``gpucnn serve``: its server. What the browser gets is in ``static/``.

Requests and answers (JSON unless said otherwise):

``GET /``
    ``static/index.html``; ``GET /static/NAME`` is the file NAME of that folder.
``GET /api/models``
    A list, one entry for each network::

        {id, title, origin,             # origin: the folder or file that it was read from
         input_shape: [C, H, W], classes: [text, ...],
         prepare: "digit" | "plain",    # how images become inputs, as for gpucnn predict
         averaged: number,              # of shifted copies whose mean the probabilities are
         has_probabilities: bool,       # false: "probabilities" are scores
         is_regression: bool,           # true: it predicts numbers, and classes are their names
         normalization: {mean, std},    # of pixels from 0 to 1, one value for each channel
         parameters, multiply_adds, test_accuracy: number | null,
         layers: [{name, type, shape, parameters, multiply_adds,
                   receptive_field: null | [vertical, horizontal]}]}

    A receptive field is {size, stride, centre} on each axis, null if it is the entire image.
``POST /api/predict?model=ID&model=ID2``
    The body is an image file of at most ``MAX_BODY`` bytes. Without ``model``, all networks
    classify it. The answer is {results: [...]}, one for each network, in the order asked for::

        {model, status, message,        # message: why there is no class, or ""
         input: null | {shape: [C, H, W], data},
         probabilities: [number, ...],  # of all classes; [] without an input
         label: null | index,           # of the most probable class; null unless "digit" or "image"
         numbers: [number, ...],        # of a regression, the predicted numbers; else []
         layers: [{name, shape, shown: [C, H, W], step, low, high, data}],
         milliseconds}

    ``status`` is "digit" or "image" if the image has a class; "none" (no digit) and "several"
    (digits), which may have an input and the probabilities of the nearest class nevertheless; or
    "failed" if the network's outputs contain NaN or infinity. ``data`` is base64 of uint8 values,
    row by row. Those of a layer are scaled: 0 is ``low`` and 255 is ``high``, and NaN is 0. A layer
    of more than ``SHOWN_VALUES`` values shows its first channels, ``shown[0]`` of them, and every
    ``step``-th row and column. Outputs that are vectors have the shape [F], shown as [F, 1, 1].
``POST /api/unit?model=ID&layer=NAME&channel=K&row=Y&column=X``
    The same body. The answer is the arithmetic of one output of a layer (``units.explain``).

Errors have a status of 4xx or 5xx and {error: "one line"}. 503 has Retry-After, in seconds.
"""
