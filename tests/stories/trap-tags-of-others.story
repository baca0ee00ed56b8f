# GitLab replaces the whole list of tags. Each runner has tags of its own, and people change them at any moment, also
# between Switchyard's look and its step: none of them is lost, and none comes back.
at 5m  human gives runner 1 tag docker
at 5m  human gives runner 3 tag docker
at 5m  human gives runner 3 tag linux
at 9m  human gives runner 3 tag gpu before step 1
at 9m  human takes tag linux from runner 3 before step 1
at 9m  human gives runner 1 tag arm before step 4
at 10m kill blue
at 15m expect holder green
at 15m expect tags of runner 1 arm docker rnd-blue
at 15m expect tags of runner 2 rnd-blue
at 15m expect tags of runner 3 docker gpu rnd-green rnd-runner
at 15m expect tags of runner 4 rnd-green rnd-runner
