

int bad_format(int a) {
  return a;
}
