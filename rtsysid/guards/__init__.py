"""Guards against what comes from outside: ranges of numbers, limits of sizes, cleaning of text."""
