# A person points the name elsewhere: reported, not fought, and a failover does not overwrite what it does not know.
at 10m human edits dns to maintenance.company.test
at 15m expect drift
at 20m kill blue
at 25m expect holder blue and green
at 40m expect latched
