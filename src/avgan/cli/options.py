"""Options that several verbs have: their names, their ranges, and where they mean the same everywhere, their help."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from cyclopts.validators import Number

Bundle = Annotated[str | None, Parameter(name="--model", help="Model bundle, or the name of an installed one.")]
Root = Annotated[Path, Parameter(name="--data", help="The folder that holds all data sets.")]
Output = Annotated[Path, Parameter(name=["--output", "-o"])]
Seed = Annotated[int | None, Parameter(validator=Number(gte=0, lte=2**32 - 1))]
Positive = Annotated[int, Parameter(validator=Number(gte=1))]
Several = Annotated[tuple[str, ...], Parameter(negative=())]
Flag = Annotated[bool, Parameter(negative=())]
Track = Annotated[
    int | None,
    Parameter(
        validator=Number(gte=1), help="Which sound track of a video is used, from 1: the default one, unless given."
    ),
]
