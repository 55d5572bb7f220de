# The studies.  rules.mk says how a file is made, one .mk per study which files are wanted.
