"""Messages out: the database is the truth, Redis is only a bell. Fan-out, the paced pump, receipts, the sweep."""
