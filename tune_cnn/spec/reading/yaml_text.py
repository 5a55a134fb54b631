"""YAML in and out: safe, with the numbers of YAML 1.2, and no key twice."""

import re
from collections.abc import Mapping

import yaml

from tune_cnn.errors import SpecError
from tune_cnn.untyped import Plain, Untyped

# YAML 1.1 reads 1:30 as 90, 2026-01-01 as a date and 1e-3 as text; 1.2 knows no such traps.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9_]*|0x[0-9a-fA-F]+|0o[0-7]+)$")
_FLOAT = re.compile(
    r"[-+]?(?:(?:\d[\d_]*\.\d*|\.\d+)(?:[eE][-+]?\d+)?|\d+[eE][-+]?\d+)$|[-+]?\.(?:inf|Inf|INF)$|\.(?:nan|NaN|NAN)$"
)
_REPLACED = {"tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:timestamp"}


class _Loader(yaml.SafeLoader):
    """Safe YAML as a spec means it."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own way)
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in _REPLACED]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Untyped) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                line = key.start_mark.line + 1
                raise SpecError(f"line {line}: the key {key.value!r} stands twice in one mapping; leave one out")
            seen.add(name)
        return node

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        return int(self.construct_scalar(node).replace("_", ""), base=0)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would read as a number; writes a value twice rather than by anchor."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
for _one in (_Loader, _Dumper):
    _one.add_implicit_resolver("tag:yaml.org,2002:int", _INT, list("-+0123456789"))
    _one.add_implicit_resolver("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789."))


def read_yaml(text: str, where: str) -> Plain:
    """Parse YAML safely; errors name the file and the line."""
    try:
        return yaml.load(text, Loader=_Loader)  # a SafeLoader
    except SpecError as error:
        raise SpecError(f"{where}: {error}") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark is not None else ""
        context = f" {error.context}" if error.context else ""
        raise SpecError(f"{where}: {line}not valid YAML{context}: {error.problem}") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a number of more digits than Python reads
        raise SpecError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None
    except RecursionError:
        raise SpecError(f"{where}: not a spec: it is nested too deeply") from None


def dump_yaml(data: Mapping[str, Plain]) -> str:
    """YAML text that `read_yaml` reads back as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
