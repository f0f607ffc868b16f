"""Turn the echo time of an ultrasonic sensor into a water level."""

SENSOR_HEIGHT_M = 3.85  # of the sensor above the zero of the staff gauge
BLIND_ZONE_M = 0.28


def speed_of_sound(celsius):
    return 331.3 + 0.606 * celsius


def level(echo_s, celsius):
    distance = echo_s * speed_of_sound(celsius) / 2
    if distance < BLIND_ZONE_M:
        raise ValueError("the echo is too near: foam, ice or a spider")
    return SENSOR_HEIGHT_M - distance
