# A single window over the past would still say well: a standby that stopped polling a minute ago is not able any more.
at 9m  slow green
at 10m kill blue
at 13m expect outcome held:target_able
at 13m expect gate target_able closed saw green polls well: 0.00
at 13m expect holder blue
