"""Print the lowest version that pyproject.toml declares for each dependency, as constraints for pip."""

import re
import sys
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
wanted = list(project["dependencies"])
for extra in sys.argv[1:]:
    wanted += extras[extra]
for requirement in dict.fromkeys(wanted):
    found = re.fullmatch(r"([A-Za-z0-9-]+)(?:\[[^]]*\])?>=([0-9.]+)(?:[,!<].*)?", requirement)
    if found:
        print("==".join(found.groups()))
    elif not requirement.startswith("linsim["):  # an extra of our own: name it as well
        sys.exit(f"{requirement}: expected a lower bound, name>=version")
