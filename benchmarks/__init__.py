"""How Chorus compares with the bare parts it is made of: ratios, both sides measured in the same run (`make bench`)."""
