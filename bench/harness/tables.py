"""Tables in Markdown."""


def markdown(head, rows):
    """A table whose columns are as wide as their cells."""
    cells = [head, *[[str(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def spread(values, digits=2):
    """The median; with the minimum and maximum if there is more than one value."""
    from statistics import median

    middle = f"{median(values):.{digits}f}"
    return (
        middle
        if len(values) == 1
        else f"{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})"
    )
