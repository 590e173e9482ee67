"""LivePortrait: a still brought to life by the motion of a driving video, with weights that its user has."""
