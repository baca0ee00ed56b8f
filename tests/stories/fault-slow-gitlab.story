# Every call to GitLab takes ten seconds more.
at 5m fault gitlab slow 10s
at 10m kill blue
at 20m expect holder green
at 20m expect moves 1
