"""The parts of the benchmark scripts that do not depend on what is measured."""
