#pragma once
/*
 * `ingestor try <url>`: connects like a source would, prints the schema it infers, where rows would
 * go and the first rows, and stores nothing. It asks for QoS 0 with a session of its own and
 * without a shared subscription, so that no message is taken from anybody.
 */

/* argv[0] is the command's name, as main's. Returns the exit code. */
int try_main(int argc, char **argv);
