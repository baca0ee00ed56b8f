# A person rejects the failover that waits: it stays rejected for as long as its alert goes on.
set approval = "required"
at 10m kill blue
at 15m human rejects by eve because blue is being restarted
at 15m expect history rejected proposal 5, the failover to green, expecting rnd at blue: blue is being restarted (eve)
at 40m expect moves 0
at 40m expect holder blue
