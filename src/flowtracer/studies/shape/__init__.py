"""What kinds of tokens carry the flow: the study and its report."""
