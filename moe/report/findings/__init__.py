"""What each page's run found, in sentences that are computed from it."""
