await null;
