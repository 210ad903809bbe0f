"""The settings of a run from the options of ``gpucnn train`` and ``gpucnn find-lr``."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from gpucnn.backends import Augmentation
from gpucnn.cli.runs import Values
from gpucnn.data import Data
from gpucnn.errors import SettingError, unknown
from gpucnn.nn.losses import LOSSES, CrossEntropyLoss
from gpucnn.optim import OPTIMIZERS, Optimizer
from gpucnn.optim.schedules import SCHEDULES
from gpucnn.training.settings import RECIPES, Settings, default_optimizer

RECIPE_MODELS = {"best": "digits_cnn"}
"""The networks that recipes are made for, where they are not lenet5."""


def with_recipe_model(options: Values) -> Values:
    """Return the options with the recipe's network, unless they name one or weights."""
    model = RECIPE_MODELS.get(options.get("recipe", "default"))
    if model is None or "model" in options or "init" in options:
        return options
    return {**options, "model": model}


def make_settings(options: Values) -> Settings:
    """Return the settings of the recipe, with the given options in place of its values."""
    recipe = options.get("recipe", "default")
    if recipe not in RECIPES:
        raise unknown("recipe", recipe, RECIPES)
    settings = RECIPES[recipe]()
    objects = ("optimizer", "schedule", "loss", "augment")
    names = {field.name for field in fields(Settings)}.difference(objects)
    changes: Values = {name: options[name] for name in names if name in options}
    if "schedule" in options:
        changes["schedule"] = named("schedule", options["schedule"], SCHEDULES)
    if "augment" in options:
        changes["augment"] = parse_augmentation(options["augment"])
    if "loss" in options:
        changes["loss"] = named("loss", options["loss"], LOSSES)()
    for option in ("label_smoothing", "class_weights"):
        if option in options and not isinstance(
            changes.get("loss", settings.loss), CrossEntropyLoss
        ):
            raise SettingError(
                f"--{option.replace('_', '-')} is for --loss cross-entropy, not for "
                f"{options['loss']}"
            )
    if "label_smoothing" in options:
        loss = changes.get("loss", settings.loss)
        changes["loss"] = replace(loss, label_smoothing=options["label_smoothing"])
    if options.get("clip_grad_norm") == 0:
        raise SettingError("--clip-grad-norm must be above 0, got 0: omit it for no limit")
    changes["optimizer"] = make_optimizer(settings.optimizer, options)
    return replace(settings, **changes)


def parse_augmentation(text: str) -> Augmentation | None:
    """Return what ``--augment`` means; sizes after "default" replace some of its own.

    >>> str(parse_augmentation("shift=2,rotate=10"))
    'shift=2,rotate=10'
    """
    if text == "none":
        return None
    names = [field.name for field in fields(Augmentation)]
    first, *rest = text.split(",")
    base, parts = Augmentation.for_digits(), rest
    if first != "default":
        base, parts = Augmentation(), [first, *rest]
    sizes: dict[str, float] = {}
    for part in parts:
        name, separator, number = part.partition("=")
        if separator and name not in names:
            raise unknown("augmentation", name, names)
        if name in sizes:
            raise SettingError(f"--augment has {name} twice: give it once")
        try:
            value = float(number)
        except ValueError:
            raise SettingError(
                "--augment takes default, none, or changes with their sizes, such as "
                f"shift=2,rotate=10; got {part!r}"
            ) from None
        sizes[name] = int(value) if value.is_integer() else value
    return replace(base, **sizes)  # type: ignore[arg-type]


def make_optimizer(default: Optimizer, options: Values) -> Optimizer:
    """Return the optimizer that the options name, ``default`` with their values without a name."""
    optimizer = default
    if "optimizer" in options:
        kind = named("optimizer", options["optimizer"], OPTIMIZERS)
        usual = (default, default_optimizer())  # "sgd" has the momentum of the default recipe
        optimizer = next((known for known in usual if type(known) is kind), kind())
    changes = {
        name: options[name] for name in ("lr", "momentum", "weight_decay") if name in options
    }
    if "momentum" in changes and not hasattr(optimizer, "momentum"):
        raise SettingError(
            f"{type(optimizer).__name__} has no momentum: use --optimizer sgd, or omit --momentum"
        )
    return replace(optimizer, **changes)  # type: ignore[type-var]


def named(kind: str, name: str, known: dict[str, Any]) -> Any:
    """Return what is called ``name``; SettingError, with the nearest name, if nothing is."""
    if name not in known:
        raise unknown(kind, name, known)
    return known[name]


def with_class_weights(settings: Settings, options: Values, data: Data) -> Settings:
    """Return the settings with the weights of ``--class-weights``: numbers, or the data's."""
    text = options.get("class_weights")
    if data.is_regression:
        _check_numbers(settings, options)
    if text is None:
        return settings
    if settings.mixup:
        raise SettingError(
            "--class-weights is not for images that are mixed: omit it, or add --mixup 0"
        )
    if text == "balanced":
        weights = data.class_weights()
    else:
        try:
            weights = tuple(float(number) for number in text.split(","))
        except ValueError:
            raise SettingError(
                f'--class-weights must be "balanced" or a number for each class, such as '
                f"1,2.5,0.5; got {text!r}"
            ) from None
        if len(weights) != len(data.classes):
            raise SettingError(
                f"--class-weights has {len(weights)} numbers, but the data has "
                f"{len(data.classes)} classes: give a number for each, or balanced"
            )
    return replace(settings, loss=replace(settings.loss, weight=weights))  # type: ignore[type-var]


def _check_numbers(settings: Settings, options: Values) -> None:
    """Raise SettingError for an option or a recipe that is for classes; the labels are numbers."""
    for option, verb in (("class_weights", "are"), ("label_smoothing", "is")):
        if option in options:
            name = option.replace("_", "-")
            raise SettingError(f"--{name} {verb} for classes, but the labels are numbers: omit it")
    if "loss" not in options and "recipe" in options and not settings.loss.for_numbers:
        raise SettingError(
            f"--recipe {options['recipe']} has a loss of classes, but the labels are numbers to "
            "predict: add --loss mse"
        )
