// QuPath: segments the selected annotation, or the whole image, and adds the objects as annotations.
// Open this file in QuPath's script editor (Automate > Script editor) and choose Run.
// The environment variables SEGMENT_URL, SEGMENT_KEY and SEGMENT_QUERY replace the values below.
import java.awt.geom.AffineTransform
import qupath.lib.io.PathIO
import qupath.lib.objects.PathObjectTools
import qupath.lib.regions.RegionRequest

def url = System.getenv("SEGMENT_URL") ?: "http://localhost:8000"
def key = System.getenv("SEGMENT_KEY") ?: ""
// see "POST /segment" in docs/api.md: threshold, channel, model and others
def query = System.getenv("SEGMENT_QUERY") ?: "min_area=50"
// 1 is full resolution; choose the value that gives the pixel size of the images that the net was trained on
double downsample = 1

def server = getCurrentServer()
def selected = getSelectedObject()
def region = selected ? RegionRequest.createInstance(server.path, downsample, selected.ROI)
                      : RegionRequest.createInstance(server, downsample)
def file = File.createTempFile("region", ".tif")
writeImageRegion(server, region, file.path)

def connection = new URL("${url}/segment?output=geojson&${query}").openConnection()
connection.requestMethod = "POST"
connection.doOutput = true
connection.setRequestProperty("Content-Type", "image/tiff")
if (key) connection.setRequestProperty("X-API-Key", key)
connection.outputStream.withCloseable { it.write(file.bytes) }
file.delete()
if (connection.responseCode != 200) {
    println connection.errorStream.text
    return
}
def place = AffineTransform.getTranslateInstance(region.x, region.y)
place.scale(downsample, downsample)
def objects = PathIO.readObjectsFromGeoJSON(connection.inputStream).collect {
    PathObjectTools.updatePlane(PathObjectTools.transformObject(it, place, true), region.imagePlane, true, false)
}
addObjects(objects)
println "${objects.size()} objects, by ${connection.getHeaderField('X-Model')}"
