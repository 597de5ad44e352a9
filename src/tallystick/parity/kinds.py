"""The words of a verdict: statuses, families and the stable ids of causes.

Ids are part of the public interface: scripts compare them. A kind is added, never renamed; its parameters go into the
verdict's `transformation`.
"""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """What a diagnosis may conclude."""

    CAUSE_FOUND = "cause_found"
    SUSPECTED = "suspected"
    CONSISTENT = "consistent"
    POPULATION_CHANGED = "population_changed"
    CANNOT_TELL = "cannot_tell"


class Family(StrEnum):
    """Where a cause lives, and so who can mend it."""

    SCHEMA = "schema"
    PREPROCESSING = "preprocessing"
    AVAILABILITY = "availability"
    ASSUMPTION = "assumption"
    ENVIRONMENT = "environment"
    ROUTING = "routing"
    POPULATION = "population"
    NONE = "none"


MEANINGS: dict[Family, dict[str, str]] = {
    Family.SCHEMA: {
        "numeric_as_text": "numbers are sent as text, or text levels as numbers",
        "decimal_comma": "numbers are text in another locale: decimal comma or thousands separators",
        "boolean_as_text": "truth values are sent as words such as 'true' or 'no'",
        "letter_case": "levels differ from training in upper and lower case only",
        "whitespace": "levels carry spaces that training did not have, or lack them",
        "encoding_damage": "text went through a wrong codec, was escaped or transcribed",
        "renamed_level": "a known level arrives under another name",
        "new_level": "a level that training never saw",
        "null_token": "missing values are sent as words such as 'NA' or 'null'",
        "unreadable": "values that are no numbers or times that can be read, or not finite",
        "missing_column": "a column of training is not sent",
        "extra_column": "a column is sent that training did not have",
        "renamed_column": "a column of training arrives under another name",
        "epoch_unit": "times are counted in another unit of the epoch (s, ms, µs, ns), or dates are written as numbers",
        "day_month_swapped": "day and month of dates are exchanged",
        "lossy_cast": "values lost their fraction in a cast to integer",
    },
    Family.PREPROCESSING: {
        "standardized": "values are standardised before they are sent; training had them raw",
        "standardized_twice": "the standardisation was applied twice",
        "not_standardized": "values are raw; training had them standardised",
        "wrong_scaler": "values are scaled with the constants of another column",
        "minmax_scaled": "values are scaled to the range of training",
        "log": "values are logarithms of what training had",
        "exp": "training had logarithms of what is sent",
        "unit": "values are in another unit: a constant factor",
        "affine_unit": "values are in another unit: a factor and an offset (°C, °F, K)",
        "affine": "values are moved and stretched by constants without a name",
        "clipped": "values beyond a bound are set to the bound",
        "category_relabelled": "the codes of levels are exchanged among themselves",
        "step_differs": "a preprocessing step gives other values",
        "aggregate_changed": "another aggregate is sent (sum for mean, total for rate)",
    },
    Family.AVAILABILITY: {
        "nulls": "values are missing that training had",
        "default_fill": "a default stands where values are missing",
        "constant": "one value for every row",
        "stale": "values belong to other rows or an earlier time",
        "feature_absent": "the column carried the label in training and has no values live",
        "window_changed": "counts are taken over another window",
    },
    Family.ASSUMPTION: {
        "columns_swapped": "two columns carry each other's values",
        "column_shift": "values stand one or more columns off",
        "time_zone": "hours are shifted by a constant",
        "rounded": "values have fewer digits",
        "float32": "values went through 32-bit floats",
        "sign_flip": "values have the opposite sign",
        "class_order": "probabilities of the classes are exchanged",
        "sampling_prior": "scores are off by the constant of a sampling rate",
        "prediction_differs": "the same rows get other predictions",
    },
    Family.ENVIRONMENT: {"environment_differs": "predictions differ because libraries or platform differ"},
    Family.ROUTING: {"wrong_version": "a replica answers with another model version"},
    Family.POPULATION: {
        "covariate_shift": "the rows are of another mix; their columns agree with each other as in training",
        "subpopulation": "the rows are one part of the training population",
        "label_shift": "the classes have another mix",
    },
}

FAMILY_OF: dict[str, Family] = {kind: family for family, kinds in MEANINGS.items() for kind in kinds}


def meaning(kind: str) -> str:
    """Return the one-line meaning of a kind; raises KeyError for an unknown one.

    >>> meaning("sign_flip")
    'values have the opposite sign'
    """
    return MEANINGS[FAMILY_OF[kind]][kind]
