"""Statistics on arrays: intervals, Student's t, ranks. Pure functions that know no model and no file."""
