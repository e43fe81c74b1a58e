"""One text traced: what runs, what comes out as plain numbers, and the file it is kept in."""
