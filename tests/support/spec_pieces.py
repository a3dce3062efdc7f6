"""Pieces of text from which wrong specs are made."""

# Pieces of specs, and text that YAML and Python read in odd ways; one per line, `⏎` for a line break.
FRAGMENTS = [
    piece.replace("⏎", "\n").replace("⇥", "\t").replace("␣", " ")
    for piece in r"""
inputs:⏎
layers:⏎
graph:⏎
vars:⏎
blocks:⏎
defaults:⏎
init:⏎
expect:⏎
name:␣
doc:␣
⏎inputs:⏎  x: randn(2, 8)⏎layers:⏎  -␣
⏎␣␣-␣
⏎␣␣␣␣-␣
⏎␣␣␣␣
⏎
-␣
for:␣
do:
if:␣
then:
else:
while:␣
limit:␣
x
prev
_
d
B
␣=␣
Block
Block(d):
Block(d)(x, y):
Linear(8)
Linear
Conv2d(3, 64, 7)
ReLU
relu(x)
x + y
x @ w
␣-> (B, 8)
->
=>
(
)
[
]
{
}
'
"
#
␣#␣
|
:
:␣
,
*
&a
*a
!tag
%
@
`
?
?␣
>
\
⇥
é
漢
😀
−
’
0
010
1e-5
yes
no
null
True
None
lambda a: a
a := b
f'{x}'
**
//
^
;
=
==
+=
...
x[:, 1: 3]
x[0]
x.shape
x.add_(1)
nn.Linear(8)
self.fc
in
not
and
is
import os
__import__('os')
x.__class__
(((((
-----
for t in range(3)
[t for t in x]
3 * Block
6 * Linear(8)(x)
Sequential(ReLU, GELU)
Parameter(ones(8))
2 ** 99
9 ** 9 ** 9
""".strip("\n").split("\n")
] + ["\r\n", "\r", "\u2028", "\x85", "\ufeff", "\u00a0", "\x00"]
