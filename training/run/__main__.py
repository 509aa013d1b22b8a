"""Runs the command."""

import sys

from training.run.command import main

sys.exit(main())
