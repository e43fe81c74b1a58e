"""`python -m flowtracer`."""

from flowtracer.cli import main

main()
