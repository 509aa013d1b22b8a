"""Runs the command."""

import sys

from training.export.command import main

sys.exit(main())
