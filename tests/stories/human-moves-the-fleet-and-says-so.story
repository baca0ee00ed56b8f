# A person moves the fleet to green in GitLab, tells Switchyard to keep that, and the name follows. Later they try it in
# GitLab once more, and tell Switchyard to take it back.
at 10m human retags runner 1
at 10m human retags runner 2
at 10m human retags runner 3
at 10m human retags runner 4
at 12m expect outcome drifted
at 13m human switches from blue to green
at 15m expect answer decided
at 15m expect holder green
at 15m expect dns green
at 15m expect outcome steady
at 20m human retags runner 1
at 20m human retags runner 2
at 20m human retags runner 3
at 20m human retags runner 4
at 22m expect holder blue
at 22m expect outcome drifted
at 23m human switches from green to green
at 25m expect answer decided
at 25m expect holder green
at 25m expect outcome steady
at 25m expect not drift
