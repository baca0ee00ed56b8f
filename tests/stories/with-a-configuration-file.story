# A team's own configuration, as it is, and one setting tried on it.
config with-a-configuration-file.toml
fleet lab held by east
set cool_down = "5m"
at 10m kill west
at 13m expect holder east of build
at 13m expect dns east of build
at 13m expect holder east of lab
at 13m expect outcome steady of lab
at 14m human switches lab from east to west
at 15m expect answer held:enabled of lab
