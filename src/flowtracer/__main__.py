"""`python -m flowtracer`."""

from flowtracer.cli.main import main

main()
