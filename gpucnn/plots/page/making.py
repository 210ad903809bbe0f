"""Making a report: ``report`` in Python, ``write_report`` for the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpucnn.config import import_extra
from gpucnn.data import Data, Split
from gpucnn.errors import SettingError
from gpucnn.files import PathLike, write_atomically
from gpucnn.nn.losses import LOSSES, Loss, from_description
from gpucnn.nn.sequential import Sequential
from gpucnn.plots.page.render import Page, render
from gpucnn.plots.page.sections import compared, single
from gpucnn.plots.page.settings import test_figures
from gpucnn.plots.page.subject import Subject, with_times
from gpucnn.plots.svg import save_all
from gpucnn.training.history import History
from gpucnn.training.results.evaluation import evaluate


def report(
    model: Sequential,
    data: Data | Split | None = None,
    history: History | None = None,
    *,
    out: PathLike = "report.html",
    png: PathLike | None = None,
    title: str = "",
) -> Path:
    """Write a report on a network as one HTML file, as ``gpucnn report`` does for runs.

    It shows the settings and curves of the run, the confusion matrix and figures of each class, the
    misread images, the calibration, the layers, the filters and the feature maps, as far as they
    are known from the arguments.

    Args:
        model: the network.
        data: test images that it was not trained on, or a data set that has some; None leaves out
            what needs them.
        history: what ``fit`` returned.
        out: the file; an existing one is replaced.
        png: a folder to save the figures in as well.
        title: the title of the page; by default the name of the data.

    Returns:
        The path of the file.

    Raises:
        SettingError: Jinja2 or Matplotlib is not installed, or the model has no normalization.
        DataError, ShapeError: the images or labels do not fit the model.
        OSError: a file cannot be written.

    Example:
        >>> data = gpucnn.data.mnist().limit(200)
        >>> model = gpucnn.models.mlp(seed=0)
        >>> history = gpucnn.fit(model, data, epochs=1, batch_size=20)
        >>> gpucnn.plots.report(model, data.test.limit(100), history, out="report.html").name
        'report.html'
    """
    started = history.started if history else None
    settings = started.settings if started else {}
    test = data.test if isinstance(data, Data) else data
    loss = from_description(settings["loss"]) if settings else default_loss(model)
    name = data.name if isinstance(data, Data) else started.data if started else ""
    subject = Subject(
        title or name or "network",
        model,
        test,
        None if test is None else evaluate(model, test, loss=loss),
        history,
        data=name,
        version=started.version if started else "",
        settings=settings,
    )
    write_report([subject], Path(out), None if png is None else Path(png))
    return Path(out)


def default_loss(model: Sequential) -> Loss:
    """Return the loss that fits the output of a model."""
    return next(loss() for loss in LOSSES.values() if loss.output == model.output)


def write_report(subjects: Sequence[Subject], out: Path, png: Path | None) -> tuple[int, int]:
    """Write the report on one subject, or on several that are compared.

    Args:
        subjects: at least one; their titles differ.
        out: the file.
        png: a folder to save the figures in as well.

    Returns:
        The number of figures, and the size of the file in bytes.

    Raises:
        SettingError: Jinja2 is not installed, or ``png`` cannot be written.
        OSError: ``out`` cannot be written.
    """
    if not subjects:
        raise SettingError("a report needs at least one run")
    import_extra("jinja2", "Jinja2", "making a report", "report")
    page = make_page([with_times(subject) for subject in subjects])
    content = render(page)
    write_atomically(out, content)
    figures = {figure.name: figure.plot for part in page.sections for figure in part.figures()}
    if png is not None:
        save_all(png, figures)
    return len(figures), len(content)


def make_page(subjects: Sequence[Subject]) -> Page:
    """Return the page on one subject, or on several that are compared."""
    return _single(subjects[0]) if len(subjects) == 1 else _compared(subjects)


def _single(subject: Subject) -> Page:
    evaluation, model = subject.evaluation, subject.model
    figures = []
    if evaluation is not None:
        figures += test_figures(evaluation)
    if model is not None:
        figures.append(("parameters", f"{model.size:,}"))
    if subject.epochs:
        figures.append(("training", f"{subject.seconds:,.1f} s"))
    return Page(
        "Training report", subject.title, _lead(subject), figures, subject.notes, single(subject)
    )


def _lead(subject: Subject) -> str:
    """Return what was trained on what, in one sentence."""
    layers = f" of {len(subject.model.layers)} layers" if subject.model else ""
    what = f"{subject.network}, a network{layers}" if subject.network else f"A network{layers}"
    images = f" on {subject.started.train_images:,} images" if subject.started else ""
    data = f"{' of' if images else ' on'} {subject.data}" if subject.data else ""
    return f"{what}{', trained' if images or data else ''}{images}{data}."


def _compared(subjects: Sequence[Subject]) -> Page:
    names = [subject.title for subject in subjects]
    lead = f"{', '.join(names[:-1])} and {names[-1]}."
    return Page("Comparison", f"{len(subjects)} runs", lead, (), (), compared(subjects))
