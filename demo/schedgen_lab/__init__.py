"""The lab of the demo: installs, builds, starts, breaks and removes the reference application.

Standard library only. `lab.py` beside this package is its command line.
"""
