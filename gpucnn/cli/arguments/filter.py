"""The options of ``gpucnn filter``."""

from __future__ import annotations

import argparse

from gpucnn.cli.arguments.shared import BACKEND_HELP

EPILOG = """\
filters:
  sobel, prewitt               edges: x (vertical ones), y (horizontal ones) and the magnitude
  laplacian                    edges of all directions: the sum of the second derivatives
  box-blur, gaussian-blur      blur, with --size and --sigma
  sharpen, emboss, identity

The matrix is applied as by a convolution layer, without flipping it (cross-correlation), to each
channel by itself. Results are in levels of the image, 0 to 255, but may be below or above. Pixels
outside the image count as 0, so edges may appear at the border; --border replicate avoids that.

Files: OUT is the result, of sobel and prewitt the magnitude; their components are OUT-x and OUT-y.
If the elements of a matrix add up to 0, OUT-magnitude is the absolute value of its result.

Scalings from results to levels:
  clip                         round, below 0 to 0, above 255 to 255
  abs                          the same of the absolute values
  normalize                    the least value to 0, the greatest to 255
  signed                       0 to 128, the greatest absolute value to 1 or 255
  auto (default)               normalize for magnitudes, signed for other results of a matrix
                               whose elements add up to 0, clip for all others

examples:
  gpucnn filter photo.jpg                       draw the edges in the terminal
  gpucnn filter photo.jpg sobel --grey --out edges.png
  gpucnn filter photo.jpg gaussian-blur --size 15 --border replicate --out soft.png
  gpucnn filter photo.jpg --matrix "0 -1 0; -1 5 -1; 0 -1 0" --out sharp.png
  gpucnn filter photo.jpg --matrix matrix.txt --stride 2 --padding valid --out small.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options to ``parser``."""
    parser.add_argument("image", metavar="IMAGE", help="image file")
    parser.add_argument(
        "filter", nargs="?", metavar="FILTER", help="name of a filter (default: sobel)"
    )
    parser.add_argument(
        "--matrix",
        metavar="ROWS",
        help="a matrix instead: rows separated by ; or a file with a row in each line, or - for "
        "standard input; numbers may be fractions (write --matrix=-1,1 if it begins with -)",
    )
    parser.add_argument("--size", type=int, metavar="N", help="size of a blur (default: 5)")
    parser.add_argument(
        "--sigma",
        type=float,
        metavar="X",
        help="standard deviation of gaussian-blur in pixels (default: by the size)",
    )
    parser.add_argument("--grey", action="store_true", help="convert the image to grey first")
    parser.add_argument(
        "--stride", type=int, default=1, metavar="N", help="distance of windows (default: 1)"
    )
    parser.add_argument(
        "--dilation",
        type=int,
        default=1,
        metavar="N",
        help="distance of the elements of the matrix in the image (default: 1)",
    )
    parser.add_argument(
        "--padding",
        default="same",
        metavar="HOW",
        help="same (default): the size of the image; valid: only windows inside it; full: all "
        "windows that overlap it",
    )
    parser.add_argument(
        "--border",
        default="zeros",
        metavar="HOW",
        help="what is outside the image: zeros (default), replicate, reflect or circular",
    )
    parser.add_argument(
        "--flip",
        action="store_true",
        help="turn the matrix by 180 degrees: convolution in the mathematical sense",
    )
    parser.add_argument(
        "--scaling", default="auto", metavar="HOW", help="how results become levels (see below)"
    )
    parser.add_argument("--out", metavar="FILE", help="save the results: .png, .jpg, .tif, ...")
    parser.add_argument(
        "--show", action="store_true", help="draw the results (done anyway without --out)"
    )
    parser.add_argument("--backend", default="auto", metavar="NAME", help=BACKEND_HELP)
    parser.add_argument("--json", action="store_true", help="print JSON, and draw nothing")
