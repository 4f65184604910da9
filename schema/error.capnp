@0xe1903b5d6ca2f748;
# One error for machines and people.

struct Error {
  code @0 :Text;      # Stable, upper case: MISSING_PERMISSION.
  message @1 :Text;   # One sentence: the field, its fault, the remedy.
}
