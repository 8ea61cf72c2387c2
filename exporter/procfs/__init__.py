"""The one reader of /proc and of cgroup files in the project.

Parsers are pure (text in, frozen dataclass out); `process.Procfs` and `cgroup.open_cgroup` add the reading. Nothing
here knows Prometheus. A malformed file raises `ParseError`; a process that is gone gives None.
"""
