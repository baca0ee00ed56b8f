# 28: the lease goes to another replica right before a decision: the store refuses it. One that does not lead looks, judges
# and shows, neither decides nor acts, and sends people to the one that does. When it leads again it begins with a look
# of its own.
at 10m kill blue
at 11m29s lead elsewhere
at 13m expect gate leader closed saw another replica leads
at 13m expect history refused from a former leader: the decision of a failover of rnd to green
at 13m human switches from blue to green by eve because blue is dead
at 13m expect answer not_leader
at 20m expect moves 0
at 20m expect steps 0
at 20m expect holder blue
at 21m lead again
at 23m expect gate leader open
at 23m expect holder green
at 23m expect moves 1
