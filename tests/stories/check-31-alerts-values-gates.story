# 31: of a move by Switchyard itself the history has the alert, every gate with what it saw, and the query it asked.
at 10m kill blue
at 13m expect holder green
at 13m expect history failover from blue to green: blue fails rnd: SwitchyardFailover
at 13m expect history by switchyard, on alert
at 13m expect history confirmed open: blue alive: 0.00, below 0.5 is dead [alive]
at 13m expect history target_able open: green polls well: 1.00, 0.8 wanted
at 13m expect history switch switch rnd.company.test. CNAME from ingress.blue.company.test.
at 13m expect history retire remove tag rnd-runner from runner 1 of blue: done
