# GitLab keeps no runner without tags that takes no untagged jobs: runner 1 has the routing tag and no other. The fleet is
# moved all the same, the tag cannot be taken from it, the move latches with the words that say what to mend, and nobody
# sends what GitLab would refuse.
set pools.blue.runners = [1, 2]
at 5m  human gives runner 2 tag docker
at 10m kill blue
at 15m expect dns green
at 15m expect holder blue and green
at 15m expect tags of runner 1 rnd-runner
at 15m expect tags of runner 2 docker
at 40m expect latched
at 40m expect history rnd-runner is the only tag of runner 1, and GitLab keeps no runner without tags
at 41m human gives runner 1 tag spare
at 42m human acks
at 43m human switches from green to green
at 50m expect holder green
at 50m expect tags of runner 1 spare
at 50m expect outcome steady
