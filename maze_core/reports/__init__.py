"""Pages, pictures and tables of runs, for people who look at them."""
