"""Whether two mathematical answers are the same; knows no task."""
