"""A trained network outside of the course: the benchmark's own view and server, your own photos and films.

bird_view  the ground from above, as the benchmark sees it
benchmark  scores in the bird's-eye view; the zip that the benchmark's server takes
photos     a network from a run or a weights file; photos in, photos with their road out
film       videos and animations
"""
