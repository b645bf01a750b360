"""What pages say first: at most three plain sentences of 80 words together, one module a page."""
