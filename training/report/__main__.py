"""Runs the command."""

import sys

from training.report.html_report import main

sys.exit(main())
