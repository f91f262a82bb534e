"""The three terms of HETA, and attention as others read it, as functions of a traced sequence; a module each."""
