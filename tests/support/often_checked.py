"""`training.run` with a check after every five steps, and none of the report's pictures, which take seconds."""

import sys
from unittest import mock

from training import recipe
from training.run import command as run
from training.run import job


def main(argv: list[str] | None = None) -> int:
    often = {name: made.model_copy(update={"check_every": 5}) for name, made in recipe.RECIPES.items()}
    with mock.patch.dict(recipe.RECIPES, often), mock.patch.object(job, "report", return_value="none"):
        return run.main(argv)


if __name__ == "__main__":
    sys.exit(main())
